"""Obnam: encrypted, deduplicating backups. Both ends: the client and the chunk server."""

from pathlib import Path

from setuptools import find_packages, setup

# Minimum versions; `constraints.txt` pins the exact ones that CI runs with.
INSTALL_REQUIRES = [
    "twisted[tls]>=26.10",
    "klein>=24.8",
    "treq>=24.9",
    "attrs>=23.2",
    "zope.interface>=8.0",
    "pynacl>=1.6",
    "blake3>=1.0",
    "xxhash>=3.4.1",
    "zstandard>=0.22",
    "pyfastcdc>=0.3",
    "pyroaring>=1.0",
    "PyYAML>=6.0",
    "cattrs>=23.2.2",
    "click>=8.2",
    "rich>=13.7",
    "prometheus-client>=0.20",
    "cryptography>=45.0.7",
    "service-identity>=24.1",
]

TEST_REQUIRES = [
    "pytest>=8.0",
    "pytest-twisted>=1.14",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "trustme>=1.1",
]

DEV_REQUIRES = [
    *TEST_REQUIRES,
    "ruff>=0.6",
    "mypy>=1.11",
    "mypy-zope>=1.0.9",
    "types-PyYAML>=6.0",
    "towncrier>=24.7",
    "sphinx>=7.3",
    "myst-parser>=3.0",
    "furo>=2024.5",
]

setup(
    name="obnam",
    version="0.1.0",
    description="Encrypted, deduplicating backups that are utterly boring",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # `twisted.plugins` is a namespace that Twisted owns: one file of ours goes into it,
    # and neither it nor `twisted` gets an __init__.py here.
    packages=[*find_packages(include=["obnam*", "obnam_server*"]), "twisted.plugins"],
    package_data={
        "obnam": ["py.typed"],
        "obnam.generation": ["sql/*.sql"],
        "obnam_server.store": ["sql/*.sql"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require={"test": TEST_REQUIRES, "dev": DEV_REQUIRES},
    entry_points={
        "console_scripts": [
            "obnam = obnam.cli.main:main",
            "obnam-server = obnam_server.admin.main:main",
        ],
    },
    zip_safe=False,
)
