"""What computes the same in less time: attention by row, answers alone, fused layers, compiled parts, whole weights."""
