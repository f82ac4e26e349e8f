"""Finds misspelt environment variables, which nothing would read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

__all__ = ["unread_variables"]

_PREFIX = "CIPHERECHO_"

# Kubernetes sets these in every container, for a Service named cipherecho or cipherecho-metrics:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_A_SERVICE = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|"
    r"PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def unread_variables(variables: Mapping[str, str], read: Collection[str]) -> Iterator[str]:
    """Yield a warning for each variable with our prefix that isn't in `read`.

    A blank variable counts as not set.  Those that Kubernetes sets are skipped.

    >>> list(unread_variables({"CIPHERECHO_LINE": "9"}, {"CIPHERECHO_MAX_LINE"}))
    ['environment variable CIPHERECHO_LINE is not read; did you mean CIPHERECHO_MAX_LINE?']
    """
    names = sorted(one.removeprefix(_PREFIX) for one in read)
    for name in sorted(variables):
        if not name.startswith(_PREFIX) or name in read or not variables[name].strip():
            continue
        ours = name.removeprefix(_PREFIX)
        if _OF_A_SERVICE.fullmatch(ours):
            continue
        from difflib import get_close_matches

        near = get_close_matches(ours, names, n=1)
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else "cipherecho --help has all options"
        yield f"environment variable {name} is not read; {hint}"
