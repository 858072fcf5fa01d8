import { readInterfaces } from '#os/mod.ts';

export { Icmp6Socket } from './icmp6.ts';
export type { Icmp6Handlers } from './icmp6.ts';
export { defaultRouteInterfaces, parseDefaultRoutes } from './routes.ts';
export { UdpSocket } from './udp.ts';
export type { Peer, UdpHandlers } from './udp.ts';
export type { InterfaceAddress, InterfaceInfo } from '#os/mod.ts';

/** All network interfaces of this process's namespace, by index. Throws EnvironmentError. */
export const listInterfaces: typeof readInterfaces = readInterfaces;
