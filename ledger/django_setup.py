"""Makes Django ready for `ledger.models`, which imports this, where no Django process has done it."""

import os

import django
from django.apps import apps

if not (apps.ready or apps.loading):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ledger.django_settings")
    django.setup()
