"""Keep: content-addressed blobs, manifests, references, leases, archives (`docs/spec/store.md`)."""

from dosirak.store.content_store import Store as Store
from dosirak.store.content_store import default_store as default_store
from dosirak.store.entry import DamagedEntry as DamagedEntry
from dosirak.store.entry import Entry as Entry
from dosirak.store.entry import FileEntry as FileEntry
from dosirak.store.entry import Kind as Kind
from dosirak.store.entry import Origin as Origin
from dosirak.store.garbage import Collected as Collected
from dosirak.store.pinned import Pin as Pin
from dosirak.store.pinned import PinnedStore as PinnedStore
from dosirak.store.stored import Shelf as Shelf
from dosirak.store.stored import Stored as Stored
from dosirak.store.transaction import Transaction as Transaction
