"""From files to documents: what a source names, how it is compressed, and what a record of it is.

Reading is lazy and can be taken up again in the middle. A format is one class in ``formats/``.
"""
