# What the headers of a message say of its deaths: x-death and its companions, as RabbitMQ writes them.
#
# x-death is an array of tables, the latest death first; dying again in the same queue for the same reason counts that
# table up and moves it to the front. What a publisher wrote under these names is not believed.

from flowmq._message cimport Message

# The message as it goes on after a death, with one reference. `queue` is where it died, `names` are the exchange and
# the routing key it gets; `keeps_selected`: with its CC.
cdef Message *after_death(Message *message, bytes queue, bytes reason, bytes names, bint keeps_selected) except NULL

# Has it died in that queue before, and was not rejected anywhere since or there?
cdef bint goes_round(Message *message, bytes queue) noexcept

# Its routing key, and those that its headers add, as bytes; None when there is no other than the first.
cdef list selected_keys(Message *message)
