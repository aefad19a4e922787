class UnackedWindow:
    count: int

class ConfirmLedger:
    last_sequence: int
