"""Real errors of real clients, each with the kind that it should be: what `make kinds` holds the classifier against."""

from . import apis as apis
from . import caches as caches
from . import clouds as clouds
from . import data as data
from . import embedded as embedded
from . import google_apis as google_apis
from . import layers as layers
from . import lower as lower
from . import mail as mail
from . import models as models
from . import mysql as mysql
from . import postgres as postgres
from . import queues as queues
from . import remote as remote
from . import secure as secure
from . import services as services
from . import standard as standard
from . import stores as stores
from . import warehouses as warehouses
from . import web as web
from . import websocket as websocket
from .corpus import CASES as CASES
from .corpus import RETRIED as RETRIED
from .corpus import Case as Case
from .corpus import NotRaised as NotRaised
from .corpus import error_of as error_of
