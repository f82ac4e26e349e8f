"""One root for all errors that callers may see."""

from __future__ import annotations

from importlib import import_module

import pytest

from cipherecho.errors import CipherechoError
from cipherecho.registry import NotACipherError, UnknownCipherError
from cipherecho.server import ListenError, TcpEndpoint, open_listeners, parse_endpoint
from cipherecho.session import Session


@pytest.mark.parametrize("face", ["cipher", "registry", "server", "session"])
def test_all_errors_of_public_modules_have_one_root(face: str) -> None:
    module = import_module(f"cipherecho.{face}")
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, CipherechoError), name


async def test_an_error_is_still_one_of_pythons() -> None:
    with pytest.raises(CipherechoError) as caught:
        parse_endpoint("tcp://")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(CipherechoError) as caught:
        async with open_listeners([TcpEndpoint("a..b", 0)]):
            pass
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ListenError)
    with pytest.raises(CipherechoError) as caught:
        Session(object())
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, NotACipherError)
    assert not issubclass(UnknownCipherError, ValueError)
