"""The least that Django and Channels ask for, and what Django's docs say of a proxy."""
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "views"
ASGI_APPLICATION = "asgi.application"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 << 20
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_X_FORWARDED_HOST = True
