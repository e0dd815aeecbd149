from django.db import migrations, models


COLUMNS = ('subject', 'sender', 'sender_name', 'recipients')
TABLE, WORDS = 'mailboxes_message', 'mailboxes_messagewords'

SEPARATORS = "@.-_/+:=<>,;'\"()[]"


def _sqlite() -> list[str]:
    """An FTS5 table over the columns of the messages, and triggers that keep it, whoever writes a message."""
    columns = ', '.join(COLUMNS)

    def of(row: str) -> str:
        return ', '.join(f'{row}.{column}' for column in COLUMNS)

    def says(row: str) -> str:
        return ' || '.join(f'{row}.{column}' for column in COLUMNS) + " <> ''"

    def put(row: str) -> str:
        return f'INSERT INTO {WORDS}(rowid, {columns}) SELECT {row}.id, {of(row)} WHERE {says(row)};'

    def drop(row: str) -> str:
        return f"INSERT INTO {WORDS}({WORDS}, rowid, {columns}) SELECT 'delete', {row}.id, {of(row)} WHERE {says(row)};"

    differs = ' OR '.join(f'old.{column} <> new.{column}' for column in COLUMNS)
    return [
        f"CREATE VIRTUAL TABLE {WORDS} USING fts5({columns}, content='{TABLE}', content_rowid='id', "
        "columnsize=0, tokenize='unicode61 remove_diacritics 2')",
        f"INSERT INTO {WORDS}({WORDS}) VALUES ('rebuild')",
        f'CREATE TRIGGER {WORDS}_in AFTER INSERT ON {TABLE} WHEN {says("new")} BEGIN {put("new")} END',
        f'CREATE TRIGGER {WORDS}_changed AFTER UPDATE OF {columns} ON {TABLE} WHEN {differs} '
        f'BEGIN {drop("old")} {put("new")} END',
        f'CREATE TRIGGER {WORDS}_out AFTER DELETE ON {TABLE} WHEN {says("old")} BEGIN {drop("old")} END',
    ]


def _postgresql() -> list[str]:
    text = " || ' ' || ".join(COLUMNS)
    separators = SEPARATORS.replace("'", "''")
    words = f"to_tsvector('simple', translate({text}, '{separators}', '{' ' * len(SEPARATORS)}'))"
    return [f'CREATE INDEX {WORDS} ON {TABLE} USING gin ({words})']


def make(apps, schema_editor) -> None:
    vendor = schema_editor.connection.vendor
    for statement in _sqlite() if vendor == 'sqlite' else _postgresql():
        schema_editor.execute(statement)


def unmake(apps, schema_editor) -> None:
    if schema_editor.connection.vendor != 'sqlite':
        schema_editor.execute(f'DROP INDEX {WORDS}')
        return
    for name in ('in', 'changed', 'out'):
        schema_editor.execute(f'DROP TRIGGER {WORDS}_{name}')
    schema_editor.execute(f'DROP TABLE {WORDS}')


class Migration(migrations.Migration):
    """Messages are found by their words; a search by Message-ID asks an index, too."""

    dependencies = [
        ('mailboxes', '0021_asked_by_a_pass'),
    ]

    operations = [
        migrations.CreateModel(
            name='MessageWords',
            fields=[
                ('message', models.OneToOneField(db_column='rowid', db_constraint=False, on_delete=models.DO_NOTHING, primary_key=True, related_name='words', serialize=False, to='mailboxes.message')),
                ('words', models.TextField(db_column='mailboxes_messagewords')),
            ],
            options={
                'verbose_name_plural': 'words of messages',
                'managed': False,
            },
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['message_id'], name='message_by_message_id'),
        ),
        migrations.RunPython(make, unmake),
    ]
