import { isAbsolute } from 'node:path';
import { formatIpv4, normalizeMac, parseIpv4, readYaml } from '#base/mod.ts';
import { z } from 'zod';

const ipv4 = z.string().refine((t) => parseIpv4(t) !== undefined, {
  error: 'an IPv4 address such as 10.0.0.1 is needed',
});

/** Not from the folder where `up` happens to be started: another one would be another state. */
const folder = z.string().refine((t) => isAbsolute(t), {
  error: 'an absolute path such as /srv/polyboot is needed',
});

const port = z.number().int().min(1).max(65_535);

/** DHCP has 32 bits for seconds, of which the largest means "for ever" (RFC 2131 §3.3). */
const LEASE_RANGE_S = { least: 1, most: 365 * 86_400 } as const;

/** "90s", "30m", "12h", "7d", or seconds. */
const duration = z
  .union([z.number().int().positive(), z.string().regex(/^\d+\s*[smhd]$/)], {
    error: 'a duration such as 90s, 30m, 12h or 7d is needed',
  })
  .transform((v) => {
    if (typeof v === 'number') return v;
    const unit = { s: 1, m: 60, h: 3_600, d: 86_400 }[v.at(-1) ?? 's'] ?? 1;
    return Number.parseInt(v, 10) * unit;
  })
  .pipe(z.number().min(LEASE_RANGE_S.least, 'at least 1s').max(LEASE_RANGE_S.most, 'at most 365d'));

/** "10.0.0.100-10.0.0.200" or "10.0.0.100-200". */
const pool = z.string().transform((text, context) => {
  const [from = '', to = ''] = text.split('-').map((t) => t.trim());
  const first = parseIpv4(from);
  const whole = /^\d{1,3}$/.test(to) ? from.replace(/\d+$/, to) : to;
  const last = parseIpv4(whole);
  if (first === undefined || last === undefined || last < first) {
    context.addIssue('a range such as 10.0.0.100-10.0.0.200 is needed, lowest first');
    return z.NEVER;
  }
  return { first: formatIpv4(first), last: formatIpv4(last) };
});

const network = z
  .strictObject({
    interface: z.string().min(1).max(15),
    dhcp: z.enum(['server', 'proxy', 'off']).default('proxy'),
    address: ipv4.optional(),
    pool: pool.optional(),
    router: ipv4.optional(),
    dns: z.array(ipv4).max(8).default([]),
    ntp: z.array(ipv4).max(8).default([]),
    domain: z.string().max(253).optional(),
    lease: duration.default(43_200),
    routerAdvertisement: z.boolean().default(true),
    replyDelayMs: z.number().int().min(0).max(10_000).default(0),
    /** Hosts that are no machines of ours: printers, access points. */
    reservations: z
      .array(
        z.strictObject({
          mac: z.string().transform((t, context) => {
            const mac = normalizeMac(t);
            if (mac !== undefined) return mac;
            context.addIssue('a MAC address such as 52:54:00:12:34:56 is needed');
            return z.NEVER;
          }),
          address: ipv4,
          hostName: z.string().max(63).optional(),
        }),
      )
      .default([]),
    /** Both override a refusal that protects the house network. */
    allowOtherDhcpServer: z.boolean().default(false),
    allowDefaultRoute: z.boolean().default(false),
  })
  .check((context) => {
    const n = context.value;
    if (n.dhcp === 'server' && n.pool === undefined) {
      context.issues.push({
        code: 'custom',
        input: n,
        path: ['pool'],
        message: 'a DHCP server needs a pool, such as 10.0.0.100-10.0.0.200',
      });
    }
  });

const settings = z.strictObject({
  state: folder.optional(),
  images: folder.optional(),
  files: folder.optional(),
  networks: z.array(network).max(64).superRefine(noInterfaceTwice).default([]),
  loaders: z.array(z.string()).max(16).default(['/usr/lib/ipxe']),
  tftp: z
    .strictObject({ port: port.default(69), singlePort: z.boolean().default(false) })
    .prefault({}),
  http: z.strictObject({ port: port.default(8080) }).prefault({}),
  iscsi: z
    .strictObject({
      port: port.default(3260),
      /** Threads that serve disks; default: half of the processors, at most four. */
      threads: z.number().int().min(1).max(64).optional(),
    })
    .prefault({}),
  admin: z
    .strictObject({
      socket: z.string().min(1).max(100).optional(),
      listen: z.string().optional(),
      tokenFile: z.string().optional(),
    })
    .prefault({}),
  log: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('warn'),
});

function noInterfaceTwice(networks: readonly { interface: string }[], ctx: z.RefinementCtx): void {
  const names = networks.map((n) => n.interface);
  for (const [at, name] of names.entries()) {
    const path = [at, 'interface'];
    const message = `${name} is named twice: one network has one interface`;
    if (names.indexOf(name) < at) ctx.addIssue({ code: 'custom', path, message });
  }
}

/** The settings of one boot server, as written in `polyboot.yaml`, with every default filled in. */
export type Config = z.output<typeof settings>;
/** One boot network of a server. */
export type NetworkConfig = Config['networks'][number];

/**
 * Parses the text of a configuration file. Throws a `UserError` that names every fault with its
 * line.
 */
export function parseConfig(text: string, file: string): Config {
  return readYaml(settings, text, file);
}
