"""The composition root: the only place that turns settings into objects.

``handles`` (what applications hold), ``bindings`` (what a handle means here and now), ``pool``
(one opened object per identity and process), ``build`` (settings → objects).
"""
