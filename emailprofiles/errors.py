"""What can go wrong between us and a mail server: one tree.

    MailError
    ├── SettingsIncomplete          profile    needs a person
    ├── network
    │   ├── NameNotResolved         network    transient (the name may come back)
    │   ├── AddressRefused          network    needs a person   (the network guard)
    │   ├── PortClosed              network    transient
    │   ├── TimedOut                network    transient
    │   └── ConnectionLost          network    transient
    ├── encryption
    │   ├── NotTls                  profile    needs a person
    │   ├── StartTlsRefused         profile    needs a person
    │   ├── CertificateExpired      profile    needs a person
    │   ├── CertificateWrongName    profile    needs a person
    │   └── CertificateUntrusted    profile    needs a person
    ├── server
    │   ├── NotThisProtocol         profile    needs a person
    │   ├── ServerBusy              profile    transient        (too many connections, try later)
    │   ├── ProtocolError           profile    transient        (an answer we cannot read)
    │   └── CapabilityMissing       profile    needs a person
    ├── mailbox
    │   ├── SignInRefused           mailbox    needs a person
    │   ├── FolderMissing           mailbox    needs a person
    │   ├── FolderReadOnly          mailbox    needs a person
    │   ├── SenderRefused           mailbox    needs a person
    │   ├── RecipientRefused        mailbox    needs a person
    │   └── TryLater                mailbox    transient        (4xx, NO [INUSE], quota …)
    └── message
        └── MessageUnavailable      message    transient        (announced, but not handed over)

The engine reads `scope` and `nature` only; people read the sentence and `advice`.
"""
