"""What is installed: the packages, what they need, and the three programs."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

DEV = [
    "furo>=2025.12",
    "hypothesis>=6.100",
    "import-linter>=2.0",
    "mypy>=1.11",
    "myst-parser>=5.0",
    "openapi-spec-validator>=0.7",
    "pillow>=10.3",
    "pytest>=8.0",
    "ruff>=0.6",
    "schemathesis>=4.0",
    "sphinx>=8.2",
    "trustme>=1.1",
    "types-PyMySQL",
    "types-psutil",
    "types-requests",
]


def requirements() -> list[str]:
    """Return the lines of requirements.txt without its comments."""
    lines = (HERE / "requirements.txt").read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def version() -> str:
    """Return `__version__` as it is written: what it needs may not be installed yet."""
    text = (HERE / "coalition" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__(?:\s*:[^=]+)?\s*=\s*"([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("coalition/__init__.py has no __version__")
    return found.group(1)


setup(
    name="coalition",
    version=version(),
    description="A small job manager for render farms",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="Coalition contributors",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["coalition", "coalition.*", "cloud", "cloud.*"]),
    package_data={"coalition": ["py.typed", "store/migrations/*", "store/migrations/versions/*"]},
    install_requires=requirements(),
    extras_require={"dev": DEV},
    entry_points={
        "console_scripts": [
            "coalition-server = coalition.cli.server:main",
            "coalition-worker = coalition.cli.worker:main",
            "coalition-control = coalition.cli.control:main",
        ]
    },
)
