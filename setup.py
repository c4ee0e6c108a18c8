"""The one part that is compiled: the native offer index. Everything else is said in pyproject.toml.

Without a C compiler it is left out, and :mod:`market.native_index` uses the index in Python instead.
"""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "market._offer_index",
            ["market/_offer_index.c"],
            depends=sorted(glob("market/native/*.h")),
            py_limited_api=True,
            optional=True,
            extra_compile_args=["-std=c11", "-O3", "-g0", "-Wall", "-Wextra"],
        )
    ]
)
