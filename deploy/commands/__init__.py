"""The commands of `turnlog`, a module for each group: options in, one call into the rest, results out.

A command imports what it needs when it runs: `turnlog --help` must not wait for a store or a model library.
"""
