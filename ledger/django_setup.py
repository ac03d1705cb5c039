"""Makes Django ready for `ledger.models`, which imports this, where no Django process has done it."""

import os

import django
from django.apps import apps

if not (apps.ready or apps.loading):
    # Whatever project of Django's the environment names, it is not the ledger's.
    os.environ["DJANGO_SETTINGS_MODULE"] = "ledger.django_settings"
    django.setup()
