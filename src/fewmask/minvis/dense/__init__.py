"""A one-stage segmenter: every place of the feature maps may speak for an object.

A place gives a score, class logits, a kernel and an identity vector. The mask is the sigmoid of the kernel times a
pixel embedding over the *whole* frame, which is all that MinVIS asks of an image segmenter: the places that win become
its queries. Unlike learned queries, which need long training to spread out, places are taught densely from the first
step.
"""
