from hypothesis import settings

settings.register_profile("datasets", deadline=None)  # a busy machine is no failure
settings.load_profile("datasets")
