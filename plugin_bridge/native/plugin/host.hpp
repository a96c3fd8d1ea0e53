/* What differs from host to host, beyond what the formats tell. */
#ifndef AUDIOSEP_HOST_HPP
#define AUDIOSEP_HOST_HPP

namespace audiosep {

/* Whether positions and automation are those of what the host plays now, a latency behind what
 * comes in: so in Ardour and Mixbus, in all formats. With others both belong to what comes in. */
bool clock_of_output();

} // namespace audiosep

#endif
