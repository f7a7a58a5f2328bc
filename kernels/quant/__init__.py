"""Block formats of weights as files hold them. Knows no packing and no instruction."""
