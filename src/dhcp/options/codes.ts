/** Option codes that we read or write (RFC 2132 unless noted). */
export const OPTION = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  dnsServers: 6,
  hostName: 12,
  domainName: 15,
  rootPath: 17,
  interfaceMtu: 26,
  broadcastAddress: 28,
  ntpServers: 42,
  vendorSpecific: 43,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  maximumMessageSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientIdentifier: 61,
  tftpServerName: 66,
  bootFileName: 67,
  /** RFC 3004. */
  userClass: 77,
  /** RFC 3046. */
  relayAgent: 82,
  /** RFC 4578. */
  clientArchitecture: 93,
  /** RFC 4578. */
  clientInterface: 94,
  /** RFC 4578. */
  clientUuid: 97,
  /** RFC 3011. */
  subnetSelection: 118,
  /** Etherboot's, kept by iPXE. */
  ipxe: 175,
  /** iPXE's initiator name. */
  initiatorIqn: 203,
  end: 255,
} as const;

/** Values of option 53 (RFC 2132 §9.6). */
export const MESSAGE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

/** One of MESSAGE. */
export type MessageType = (typeof MESSAGE)[keyof typeof MESSAGE];
