"""The straight line of one message.

    worker.run()              while not stopping: for lease in leases.claim(seats): submit(lease)
    leases.claim()            compare-and-set; one row changed means it is ours; the fence grows
    incoming.synchronize()    one connection, one loop over batches
    incoming.settle()         what an earlier pass left: resume what is kept, dispose of what is delivered
    transport.fetch()         a batch as the server sends it, nothing marked
    ingest.keep()             transaction 1: raw bytes and identity, state *received*
    parsing.parse()           bytes to Parsed, in a child process with limits
    routing.route()           for whom, and by which rule
    ingest.deliver()          transaction 2: headers, bodies, attachments, deliveries
    transport.dispose()       after that commit: delete, or mark as read
    leases.release()          backoff decides when to come again; alerts are raised or resolved

States: received → delivered | quarantined → (delivered | discarded).

The law: network and `transaction.atomic` never nest; commit, then tell the server. A message is
never to blame for its batch: only an attempt of its own counts, and the third failure quarantines it.
"""
