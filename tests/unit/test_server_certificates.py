"""
Tests for L{eventsvc.net.server_certificates}: files that are valid or not, at the
start and later, and what clients get.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from twisted.logger import LogLevel

from eventsvc.net.server_certificates import ServerCertificates
from eventsvc.settings import TLSSettings
from eventsvc.settings.reading import InvalidSettings
from tests.support.certificates import Authority, Identity
from tests.support.http import make_site_alone, post
from tests.support.recording import recording
from tests.support.tls import TLSClient, serving_tls, trusting
