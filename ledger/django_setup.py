"""Makes Django ready for `ledger.models`, which imports this, where no Django process has done it."""

import os

import django
from django.apps import apps

if not (apps.ready or apps.loading):
    # DJANGO_SETTINGS_MODULE in the environment belongs to some other Django project.
    os.environ["DJANGO_SETTINGS_MODULE"] = "ledger.django_settings"
    django.setup()
