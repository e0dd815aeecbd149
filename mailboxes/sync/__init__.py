"""The straight line of one message.

    worker.run()              while not stopping: claim what is due, and lay it into the tray of the threads
    leases.claim()            compare-and-set; one row changed means it is ours; the fence grows
    errands.read()            the mailbox, and what is left to do there
    incoming.synchronize()    one connection, one loop over batches
    resume.resume()           what an earlier pass kept and did not deliver
    transport.fetch_ahead()   batches as the server sends them, nothing marked
    ingest.keep()             transaction 1: raw bytes and identity, state *received*
    parsing.parse()           bytes to Parsed, in a child process with limits
    routing.route()           for whom, and by which rule
    comeback.ties()           which message of ours it answers, or reports on
    ingest.deliver()          transaction 2: headers, attachments, deliveries
    transport.dispose()       after that commit: delete, or mark as read
    leases.release()          backoff decides when to come again; alerts are raised or resolved

States: received → delivered | quarantined → (delivered | discarded) | discarded, when it is for nobody.

The law: network and `transaction.atomic` never nest; commit, then tell the server. A message is
never to blame for its batch: only an attempt of its own counts, and the third failure quarantines it.
"""
