"""The write-ahead journal on front's own disk, and its replay into the stream."""
