"""Which of a family's tiles is the fastest on this machine for weights of one shape: measured once, then remembered.

Candidates have the static choice's bits and read its packed weights, so a choice changes neither results nor files.
"""
