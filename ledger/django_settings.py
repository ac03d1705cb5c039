"""Django's settings of the project: its app, and the database that its own settings say (docs/design.md,
section 4).
"""

from contextlib import suppress
from typing import Any

from ledger.databases import databases
from ledger.settings import SettingInvalid, project_settings

INSTALLED_APPS = ["ledger"]
DATABASES: dict[str, dict[str, Any]] = {}
# Whoever asks for the settings is refused with the sentence that says which is invalid.
with suppress(SettingInvalid):
    DATABASES = databases(project_settings())
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
