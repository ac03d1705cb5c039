"""What Django needs to know for the ledger alone; which database it is, `ledger.database` says."""

INSTALLED_APPS = ["ledger"]
DATABASES: dict[str, dict] = {}
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
