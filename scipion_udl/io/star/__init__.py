"""The text of STAR and XMD files: read in blocks into columns of bytes, and written in blocks from them."""
