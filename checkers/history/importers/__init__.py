"""Readers of foreign history formats, one module each: ``recognise`` and ``load``.

`rows` has what Jepsen's formats share; `sessions` what formats of transaction sessions share.
"""
