"""The loop: from a folder of unlabelled videos to a dataset and a segmenter of the kinds of object they show."""
