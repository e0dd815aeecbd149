"""Whose mail it is, and keeping it in step: people, mailbox records, messages, the engine, the pages.

The picture is a sorting office. A letter comes in through one door (`sync.incoming`), is put down
before anyone opens it (`sync.ingest.keep`), is read (`parsing`), someone decides for whom it is
(`routing`), it goes into that pigeonhole (`sync.ingest.deliver`), and only then is the sender's copy
thrown away. That line stands in `sync`; everything else stands beside it and never in it.
"""
