import { z } from 'zod';
import { normalizeMac, parseIpv4 } from '#base/mod.ts';
import {
  CHAP_SECRET_BYTES_MAX,
  CHAP_SECRET_BYTES_MIN,
  CMDLINE_BYTES_MAX,
  DRIVES_MAX,
  INITRDS_MAX,
  MACS_MAX,
  SCRIPT_BYTES_MAX,
} from './limits.ts';

/**
 * The single source of the domain's types: what the store keeps, the API takes and the CLI sends.
 *
 * Every text here ends in an iPXE script, a kernel command line or an iSCSI name, so each field
 * admits what its last reader can take and nothing else (no line breaks, no `${`).
 */

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const oneLine = (max: number): z.ZodString =>
  z
    .string()
    .max(max)
    .refine((text) => !CONTROL.test(text), 'must be one line without control characters');

/** Lower-case letters, digits and hyphens, at most 63: it is a host name and a part of an IQN. */
export const machineNameSchema = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be a DNS label: 1 to 63 of a-z, 0-9 and "-", not starting or ending with "-"',
  )
  .describe('DNS label');

/** As an image is called in the library; checked for being there when a drive is attached. */
export const imageNameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'is no image name (a-z 0-9 . _ -, at most 64)')
  .describe('name of an image in the library');

/** Any usual spelling in, `aa:bb:cc:dd:ee:ff` out; never a group address (IEEE 802). */
export const macSchema = z
  .string()
  .max(32)
  .overwrite((text) => normalizeMac(text) ?? text)
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'is no MAC address (like 52:54:00:12:34:56)')
  .refine((mac) => isUnicastMac(mac), 'is not the address of one network card')
  .describe('MAC address, any usual spelling');

/** SMBIOS UUID as option 97 and iPXE's ${uuid} give it. Boards share them: never an identity. */
export const uuidSchema = z
  .string()
  .max(36)
  .overwrite((text) => text.toLowerCase())
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'is no UUID');

/** An IPv4 address that a host can have. */
export const addressSchema = z
  .string()
  .max(15)
  .refine((text) => isHostAddress(text), 'is no IPv4 address of a host (like 10.0.0.5)')
  .describe('IPv4 address');

/**
 * `exclusive`: this machine alone, read and write. `shared`: read-only, by any number.
 * `overlay-fresh`, `overlay-kept`: any number write, each on an overlay of its own, which is new at
 * each boot or stays.
 */
export const DRIVE_MODES = ['exclusive', 'shared', 'overlay-fresh', 'overlay-kept'] as const;
export const driveModeSchema = z.enum(DRIVE_MODES);

/** One attachment; its index n in the list is BIOS drive 0x80+n and target `…:<machine>.<n>`. */
export const driveSchema = z.strictObject({ image: imageNameSchema, mode: driveModeSchema });

export const drivesSchema = z.array(driveSchema).max(DRIVES_MAX).superRefine(noImageTwice);

/** A path below the boot files' root, or an http(s) URL. */
export const bootFileSchema = oneLine(1024)
  .min(1)
  .regex(/^[^\s]+$/, 'must not contain spaces')
  .refine((text) => !text.split('/').includes('..'), 'must not contain ".."')
  .refine((text) => !text.includes('${'), 'must not contain "${"')
  .describe('file below the folder `files` of the server, or an http(s) URL');

const cmdlineSchema = oneLine(CMDLINE_BYTES_MAX);
const scriptTextSchema = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= SCRIPT_BYTES_MAX, 'is longer than 64 KiB')
  .refine((text) => !text.includes('\0'), 'must not contain NUL');

/** What a machine gets when it boots. */
export const bootPlanSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('san') }),
  z.strictObject({
    kind: z.literal('kernel'),
    kernel: bootFileSchema,
    initrd: z.array(bootFileSchema).max(INITRDS_MAX).default([]),
    cmdline: cmdlineSchema.default(''),
  }),
  z.strictObject({ kind: z.literal('iso'), image: imageNameSchema }),
  /** Drive A: in memory (SYSLINUX's memdisk, BIOS only), beside the drives. */
  z.strictObject({ kind: z.literal('floppy'), file: bootFileSchema }),
  z.strictObject({ kind: z.literal('local') }),
  z.strictObject({ kind: z.literal('menu') }),
  z.strictObject({ kind: z.literal('script'), text: scriptTextSchema }),
]);

/** CHAP names travel in iPXE scripts, which split words at spaces: IQN-like characters only. */
const chapUserSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,222}$/, 'must be 1 to 223 of A-Z a-z 0-9 . _ : @ -');
const chapSecretSchema = z
  .string()
  .regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces (iPXE splits words at them)')
  .refine(
    (text) => !text.includes('${') && !text.startsWith('#'),
    'must not contain "${" or lead with "#"',
  )
  .min(CHAP_SECRET_BYTES_MIN, 'must have at least 12 characters (RFC 7143 §12.1.3: 96 bits)')
  .max(CHAP_SECRET_BYTES_MAX, 'must have at most 255 characters');

/** CHAP of one machine: it proves `secret`; with the mutual pair the target proves itself too. */
export const chapSchema = z
  .strictObject({
    user: chapUserSchema,
    secret: chapSecretSchema,
    mutualUser: chapUserSchema.exactOptional(),
    mutualSecret: chapSecretSchema.exactOptional(),
  })
  .superRefine(mutualPair);

/** A boot that differs from the standing plan, once. */
export const bootOnceSchema = z.strictObject({
  plan: bootPlanSchema,
  drives: drivesSchema.exactOptional(),
});

/** Option 93 (RFC 4578 §2.1). */
export const archSchema = z.int().min(0).max(0xffff);
export const noteSchema = oneLine(1000);
const timeSchema = z.int().min(0);

/** What the owner may say of a machine. */
const said = {
  name: machineNameSchema,
  macs: z
    .array(macSchema)
    .min(1, 'needs at least one MAC address')
    .max(MACS_MAX)
    .superRefine(noMacTwice),
  uuid: uuidSchema.exactOptional(),
  address: addressSchema.exactOptional(),
  plan: bootPlanSchema.default({ kind: 'san' }),
  drives: drivesSchema.default([]),
  chap: chapSchema.exactOptional(),
  loader: bootFileSchema.exactOptional(),
  note: noteSchema.exactOptional(),
};

/** A new machine, as its owner describes it. */
export const newMachineSchema = z.strictObject(said);

/** A change: what is absent stays, null clears. */
export const machineChangeSchema = z.strictObject({
  name: said.name.exactOptional(),
  macs: said.macs.exactOptional(),
  uuid: uuidSchema.nullable().exactOptional(),
  address: addressSchema.nullable().exactOptional(),
  plan: bootPlanSchema.exactOptional(),
  drives: drivesSchema.exactOptional(),
  chap: chapSchema.nullable().exactOptional(),
  loader: bootFileSchema.nullable().exactOptional(),
  note: noteSchema.nullable().exactOptional(),
});

/** A machine as it is kept. */
export const machineSchema = z.strictObject({
  ...said,
  id: z.string().min(1).max(64),
  arch: archSchema.exactOptional(),
  registered: z.boolean(),
  nextBoot: bootOnceSchema.exactOptional(),
  thisBoot: bootOnceSchema.exactOptional(),
  createdAtMs: timeSchema,
  seenAtMs: timeSchema.exactOptional(),
});

/**
 * A computer, known by its MAC addresses. `registered` false: it introduced itself and its owner
 * has not said what it is. `nextBoot`: an override waiting for the next boot; `thisBoot`: the one
 * that the present boot took. Objects handed out are frozen.
 */
export type Machine = z.output<typeof machineSchema>;
export type Drive = z.output<typeof driveSchema>;
export type BootPlan = z.output<typeof bootPlanSchema>;
export type Chap = z.output<typeof chapSchema>;
export type BootOnce = z.output<typeof bootOnceSchema>;
export type NewMachine = z.input<typeof newMachineSchema>;
export type MachineChange = z.input<typeof machineChangeSchema>;

function isUnicastMac(mac: string): boolean {
  return mac !== '00:00:00:00:00:00' && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
}

function isHostAddress(text: string): boolean {
  const value = parseIpv4(text);
  if (value === undefined) return false;
  const first = value >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

function noImageTwice(drives: readonly { image: string }[], ctx: z.RefinementCtx): void {
  drives.forEach((drive, n) => {
    const first = drives.findIndex((other) => other.image === drive.image);
    if (first < n)
      ctx.addIssue({
        code: 'custom',
        path: [n],
        message: `is drive ${first} already: ${drive.image}`,
      });
  });
}

function noMacTwice(macs: readonly string[], ctx: z.RefinementCtx): void {
  if (new Set(macs).size < macs.length)
    ctx.addIssue({ code: 'custom', message: 'names the same MAC address twice' });
}

function mutualPair(
  chap: { secret: string; mutualUser?: string; mutualSecret?: string },
  ctx: z.RefinementCtx,
): void {
  if ((chap.mutualUser === undefined) !== (chap.mutualSecret === undefined))
    ctx.addIssue({ code: 'custom', message: 'needs both mutualUser and mutualSecret, or neither' });
  // RFC 7143 §9.2.1: equal secrets in both directions allow reflection.
  if (chap.mutualSecret === chap.secret)
    ctx.addIssue({ code: 'custom', path: ['mutualSecret'], message: 'must differ from secret' });
}
