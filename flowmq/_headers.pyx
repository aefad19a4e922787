# See _headers.pxd for what this module is and is not.
#
# The headers of a message are decoded once per route, into one place that serves every route in turn.

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, Cursor, load_long, load_long_long, load_short, read_octet, read_short_string, skip_bytes,
)
from flowmq._matching cimport Gathering, Table, gather, hash_octets, octets_of, resized
from flowmq._message cimport Message, message_header

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

# ------------------------------------------------------------------------------------------------ field tables

cdef struct Field:
    const uint8_t *name
    uint8_t name_bytes
    uint64_t hash
    Value value

cdef struct Fields:
    # A decoded field table. Points into its octets.
    Field *items
    Py_ssize_t count
    Py_ssize_t capacity


cdef inline void set_integer(Value *value, int64_t number) noexcept nogil:
    value.kind = NUMBER
    value.negative = number < 0
    value.bits = <uint64_t>number


cdef inline void set_floating(Value *value, double number) noexcept nogil:
    # A whole number equals the integer of the same value.
    if -9007199254740992.0 <= number <= 9007199254740992.0 and <double><int64_t>number == number:
        set_integer(value, <int64_t>number)
    else:
        value.kind = FRACTION
        memcpy(&value.bits, &number, sizeof(number))


cdef bint read_octets(Cursor *cursor, Value *value, ValueKind kind, uint32_t count) noexcept nogil:
    value.kind = kind
    value.octets = cursor.position
    value.octets_count = count
    return skip_bytes(cursor, count)


cdef bint read_long_octets(Cursor *cursor, Value *value, ValueKind kind) noexcept nogil:
    cdef const uint8_t *at = cursor.position
    return skip_bytes(cursor, 4) and read_octets(cursor, value, kind, load_long(at))


cdef bint read_value(Cursor *cursor, Value *value) noexcept nogil:
    cdef uint8_t kind
    memset(value, 0, sizeof(Value))
    if not read_octet(cursor, &kind):
        return False
    if kind == c'S' or kind == c'x':
        return read_long_octets(cursor, value, STRING)
    if kind == c'F':
        return read_long_octets(cursor, value, TABLE)
    if kind == c'A':
        return read_long_octets(cursor, value, ARRAY)
    if kind == c'D':
        return read_octets(cursor, value, DECIMAL, 5)
    if kind == c'V':
        return True
    return read_number(cursor, kind, value)


cdef bint read_number(Cursor *cursor, uint8_t kind, Value *value) noexcept nogil:
    cdef const uint8_t *at = cursor.position
    cdef uint32_t single_bits
    cdef uint64_t double_bits
    cdef float single
    cdef double number
    if not skip_bytes(cursor, number_bytes(kind)):
        return False
    if kind == c't':
        value.kind = BOOLEAN
        value.bits = at[0] != 0
    elif kind == c'b':
        set_integer(value, <int8_t>at[0])
    elif kind == c'B':
        set_integer(value, at[0])
    elif kind == c's':
        set_integer(value, <int16_t>load_short(at))
    elif kind == c'u':
        set_integer(value, load_short(at))
    elif kind == c'I':
        set_integer(value, <int32_t>load_long(at))
    elif kind == c'i':
        set_integer(value, load_long(at))
    elif kind == c'l':
        set_integer(value, <int64_t>load_long_long(at))
    elif kind == c'T':
        value.kind = NUMBER
        value.bits = load_long_long(at)
    elif kind == c'f':
        single_bits = load_long(at)
        memcpy(&single, &single_bits, 4)
        set_floating(value, single)
    elif kind == c'd':
        double_bits = load_long_long(at)
        memcpy(&number, &double_bits, 8)
        set_floating(value, number)
    else:
        return False
    return True


cdef size_t number_bytes(uint8_t kind) noexcept nogil:
    if kind == c't' or kind == c'b' or kind == c'B':
        return 1
    if kind == c's' or kind == c'u':
        return 2
    if kind == c'I' or kind == c'i' or kind == c'f':
        return 4
    if kind == c'l' or kind == c'T' or kind == c'd':
        return 8
    return 0


cdef inline bint equal_values(const Value *one, const Value *other) noexcept nogil:
    return (one.kind == other.kind and one.bits == other.bits and one.negative == other.negative
            and one.octets_count == other.octets_count
            and (one.octets_count == 0 or memcmp(one.octets, other.octets, one.octets_count) == 0))


cdef bint find_value(const uint8_t *table, uint32_t table_bytes, const uint8_t *name, size_t name_bytes,
                     Value *value) noexcept nogil:
    cdef Cursor cursor
    cdef Value other
    cdef const uint8_t *field_name
    cdef uint8_t field_name_bytes
    cdef bint found = False
    cursor.position = table
    cursor.end = table + table_bytes
    while cursor.position < cursor.end:
        if not read_short_string(&cursor, &field_name, &field_name_bytes):
            return False
        if not found and field_name_bytes == name_bytes and memcmp(field_name, name, name_bytes) == 0:
            found = read_value(&cursor, value)
            if not found:
                return False
        elif not read_value(&cursor, &other):
            return False
    return found


cdef bint read_fields(Fields *fields, const uint8_t *table, uint32_t table_bytes) except -1:
    # False when the table is malformed.
    cdef Cursor cursor
    cdef Py_ssize_t capacity
    cdef Field *field
    cursor.position = table
    cursor.end = table + table_bytes
    fields.count = 0
    while cursor.position < cursor.end:
        if fields.count == fields.capacity:
            capacity = max(fields.capacity * 2, <Py_ssize_t>16)
            fields.items = <Field *>resized(fields.items, capacity * sizeof(Field))
            fields.capacity = capacity
        field = &fields.items[fields.count]
        if not read_short_string(&cursor, &field.name, &field.name_bytes) or not read_value(&cursor, &field.value):
            return False
        field.hash = hash_octets(field.name, field.name_bytes)
        fields.count += 1
    return True


# ----------------------------------------------------------------------------------------- a message's headers

cdef struct MessageHeaders:
    Fields fields
    uint32_t *places            # open addressing: position in `fields` + 1, or 0
    uint64_t places_count       # a power of two
    uint64_t places_used_count  # the same for this message

cdef MessageHeaders headers
memset(&headers, 0, sizeof(headers))


cdef void hide_blind_keys(Fields *fields) noexcept nogil:
    """Nobody compares what nobody is to see."""
    cdef Py_ssize_t position
    cdef Py_ssize_t kept = 0
    for position in range(fields.count):
        if fields.items[position].name_bytes != 3 or memcmp(fields.items[position].name, b"BCC", 3) != 0:
            fields.items[kept] = fields.items[position]
            kept += 1
    fields.count = kept


cdef int read_message_headers(Message *message) except -1:
    # A malformed table has no fields; of several fields with one name the first counts.
    cdef Py_ssize_t position
    cdef uint64_t wanted = 8
    cdef uint64_t at
    headers.fields.count = 0
    if message != NULL and message.headers_bytes and not read_fields(
        &headers.fields, <const uint8_t *>message_header(message) + message.headers_at, message.headers_bytes
    ):
        headers.fields.count = 0
    if message != NULL and message.blind:
        hide_blind_keys(&headers.fields)
    while wanted < <uint64_t>headers.fields.count * 2:
        wanted *= 2
    if wanted > headers.places_count:
        headers.places = <uint32_t *>resized(headers.places, wanted * sizeof(uint32_t))
        headers.places_count = wanted
    headers.places_used_count = wanted
    memset(headers.places, 0, wanted * sizeof(uint32_t))
    for position in range(headers.fields.count):
        at = headers.fields.items[position].hash & (wanted - 1)
        while headers.places[at]:
            at = (at + 1) & (wanted - 1)
        headers.places[at] = <uint32_t>(position + 1)
    return 0


cdef const Value *find_header(const Field *wanted) noexcept nogil:
    cdef uint64_t mask = headers.places_used_count - 1
    cdef uint64_t at = wanted.hash & mask
    cdef const Field *field
    while headers.places[at]:
        field = &headers.fields.items[headers.places[at] - 1]
        if (field.hash == wanted.hash and field.name_bytes == wanted.name_bytes
                and memcmp(field.name, wanted.name, wanted.name_bytes) == 0):
            return &field.value
        at = (at + 1) & mask
    return NULL


# ------------------------------------------------------------------------------------------------ the bindings

cdef struct Rule:
    # A binding of a headers exchange. Behind it lie its fields to compare, then the octets they point into.
    PyObject *target            # borrowed
    bint any_field              # else all of them
    Py_ssize_t fields_count
    uint32_t octets_count


cdef inline Field *rule_fields(Rule *rule) noexcept nogil:
    return <Field *>(rule + 1)


cdef inline uint8_t *rule_octets(Rule *rule) noexcept nogil:
    return <uint8_t *>(rule_fields(rule) + rule.fields_count)


cdef bint rule_holds(Rule *rule) noexcept nogil:
    cdef Field *fields = rule_fields(rule)
    cdef const Value *value
    cdef Py_ssize_t position
    cdef bint equal
    for position in range(rule.fields_count):
        value = find_header(&fields[position])
        # A void value in a binding asks for presence only.
        equal = value != NULL and (fields[position].value.kind == VOID or equal_values(&fields[position].value, value))
        if equal == rule.any_field:
            return rule.any_field
    return not rule.any_field


cdef bytes field_name(const Field *field):
    return PyBytes_FromStringAndSize(<const char *>field.name, field.name_bytes)


cdef Rule *new_rule(PyObject *target, bytes match) except NULL:
    # The table is copied whole, to be told from others by its octets and for the fields to point into.
    cdef uint32_t octets_count = <uint32_t>PyBytes_GET_SIZE(match)
    cdef Fields fields
    cdef Rule *rule
    cdef Field *field
    cdef Py_ssize_t position
    cdef bytes mode = b"all"
    memset(&fields, 0, sizeof(fields))
    try:
        if not read_fields(&fields, octets_of(match), octets_count):
            raise ValueError("binding arguments are not a field table")
        for position in range(fields.count):
            field = &fields.items[position]
            if field_name(field) == b"x-match" and field.value.kind == STRING:
                mode = PyBytes_FromStringAndSize(<const char *>field.value.octets, field.value.octets_count)
        rule = <Rule *>resized(NULL, sizeof(Rule) + fields.count * sizeof(Field) + octets_count)
        rule.target = target
        rule.any_field = mode.startswith(b"any")
        rule.octets_count = octets_count
        rule.fields_count = fields_to_compare(&fields, mode.endswith(b"-with-x"))
        memcpy(rule_octets(rule), octets_of(match), octets_count)
        for position in range(rule.fields_count):
            field = &rule_fields(rule)[position]
            field[0] = fields.items[position]
            field.name = rule_octets(rule) + (field.name - octets_of(match))
            if field.value.octets != NULL:
                field.value.octets = rule_octets(rule) + (field.value.octets - octets_of(match))
        return rule
    finally:
        free(fields.items)


cdef Py_ssize_t fields_to_compare(Fields *fields, bint with_x):
    # Moves them to the front; returns how many there are.
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t position
    cdef Field *field
    cdef bytes name
    for position in range(fields.count):
        field = &fields.items[position]
        name = field_name(field)
        if name != b"x-match" and (with_x or not name.startswith(b"x-")):
            fields.items[count] = field[0]
            count += 1
    return count


cdef class HeadersTable(Table):
    """Bindings by their arguments, compared with the message's headers one binding after the other."""

    cdef Rule **rules
    cdef Py_ssize_t rules_count
    cdef Py_ssize_t rules_capacity

    def __cinit__(self):
        self.by_message = True

    def __dealloc__(self):
        cdef Py_ssize_t position
        for position in range(self.rules_count):
            free(self.rules[position])
        free(self.rules)

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Py_ssize_t capacity
        if self.rules_count == self.rules_capacity:
            capacity = max(self.rules_capacity * 2, <Py_ssize_t>8)
            self.rules = <Rule **>resized(self.rules, capacity * sizeof(Rule *))
            self.rules_capacity = capacity
        self.rules[self.rules_count] = new_rule(target, match)
        self.rules_count += 1
        return 0

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Py_ssize_t position
        cdef Rule *rule
        for position in range(self.rules_count):
            rule = self.rules[position]
            if (rule.target == target and rule.octets_count == PyBytes_GET_SIZE(match)
                    and memcmp(rule_octets(rule), octets_of(match), rule.octets_count) == 0):
                self.rules_count -= 1
                self.rules[position] = self.rules[self.rules_count]
                free(rule)
                return 0
        return 0

    cdef bint remove_all(self, PyObject *target) except? True:
        cdef Py_ssize_t position
        cdef Py_ssize_t kept = 0
        for position in range(self.rules_count):
            if self.rules[position].target == target:
                free(self.rules[position])
            else:
                self.rules[kept] = self.rules[position]
                kept += 1
        self.rules_count = kept
        return True

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        cdef Py_ssize_t position
        if not gathering.headers_read:
            read_message_headers(gathering.message)
            gathering.headers_read = True
        for position in range(self.rules_count):
            if rule_holds(self.rules[position]):
                gather(gathering, self.rules[position].target)
        return 0
