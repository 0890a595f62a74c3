"""Real errors of real clients, each with the kind that it should be: what `make kinds` holds the classifier against."""

from . import clouds as clouds
from . import data as data
from . import databases as databases
from . import google_apis as google_apis
from . import messaging as messaging
from . import models as models
from . import mysql as mysql
from . import services as services
from . import standard as standard
from . import stores as stores
from . import web as web
from .corpus import CASES as CASES
from .corpus import RETRIED as RETRIED
from .corpus import Case as Case
from .corpus import NotRaised as NotRaised
from .corpus import error_of as error_of
