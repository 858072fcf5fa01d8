import { z } from 'zod';

/** One service of the process: what it does, where, or why it does not. */
export const serviceStatusSchema = z.strictObject({
  name: z.string(),
  state: z.enum(['up', 'off', 'failed']),
  /** Addresses in the form that a person types: "10.0.0.1:3260", "/run/polyboot/admin.sock". */
  listeners: z.array(z.string()),
  detail: z.string().exactOptional(),
  counters: z.record(z.string(), z.number()),
});

/** One iSCSI session. */
export const sessionStatusSchema = z.strictObject({
  machine: z.string().exactOptional(),
  initiator: z.string(),
  target: z.string(),
  /** Peer, as "address:port". */
  from: z.string(),
  sinceMs: z.number(),
  readBytes: z.number(),
  writtenBytes: z.number(),
});

export const statusSchema = z.strictObject({
  version: z.string(),
  pid: z.int(),
  startedAtMs: z.number(),
  rssBytes: z.number(),
  services: z.array(serviceStatusSchema),
  sessions: z.array(sessionStatusSchema),
  machines: z.int(),
  images: z.int(),
});

/** One address that the DHCP server gave or promised. */
export const leaseSchema = z.strictObject({
  address: z.string(),
  mac: z.string(),
  machine: z.string().exactOptional(),
  hostname: z.string().exactOptional(),
  state: z.enum(['offered', 'bound', 'reserved', 'abandoned', 'expired']),
  expiresAtMs: z.number().exactOptional(),
});

export type ServiceStatus = z.output<typeof serviceStatusSchema>;
export type SessionStatus = z.output<typeof sessionStatusSchema>;
export type Status = z.output<typeof statusSchema>;
export type Lease = z.output<typeof leaseSchema>;
