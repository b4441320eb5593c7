"""The number of every kind of record. Numbers are never reused. Source: specs/records.md §4."""

from enum import IntEnum


class Kind(IntEnum):
    """First element of every record; its lower-case name is part of every signature."""

    ENTRY = 1
    GENESIS = 2
    PARAMETERS = 3
    REGISTRATION = 4
    ROTATION = 5
    DELEGATION = 6
    BUDGET = 7
    CLOSING = 8
    LISTING = 9

    JOB = 16
    RECEIPT = 17
    BATCH = 18
    DELIVERY = 19
    HANDOVER = 20

    ROUND = 32
    ATTESTATION = 33
    CERTIFICATE = 34
    COMMIT = 35
    REVEAL = 36
    VERDICT = 37
    CANARY = 38
    CANARY_COMMIT = 39

    GRANT = 48
    TRANSFER = 49
    HOLD = 50
    CAPTURE = 51
    RELEASE = 52
    EXPIRE = 53
    REFUND = 54
    SLASH = 55
    LEVY = 56
    SETTLEMENT = 57
    CREDIT_LINE = 58
    DELEGATED_HOLD = 59
    CLAWBACK = 60
    LEVY_PAYEE = 61

    QUOTE = 64

    ACCOUNT_STATE = 80
    HOLD_STATE = 81
    KEY_STATE = 82
    RECEIPT_STATE = 83
    LOT_STATE = 84

    BUNDLE = 96

    # Reserved: no encoding yet, refused by every reader.
    VOTE = 112
    REVIEW = 113
    CLEARING = 114
