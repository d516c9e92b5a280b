"""Where artifacts are kept: a folder or a bucket, files by their content, what stays and whether it is whole."""
