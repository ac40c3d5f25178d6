"""The kinds that a spec can name, one record each: data sets, networks, losses and UFMs.

A record says all of its thing: its part of the spec, how it is built or loaded, what it needs, how a caption words it.
To add one is to put one record into its registry. Without torch: what needs it is referred to by name.
"""
