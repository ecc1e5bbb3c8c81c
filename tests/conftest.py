"""For all tests: signals mean what they mean at a terminal, also where the run was started in the background."""

import signal

# A shell without job control starts background jobs with Ctrl-C ignored, nohup with SIGHUP ignored; programs that the
# tests start would inherit that, and it is right of them to leave it so.
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), handler)
