import { z } from 'zod';
import {
  bootOnceSchema,
  bootPlanSchema,
  chapSchema,
  DRIVE_MODES,
  driveSchema,
  drivesSchema,
  initiatorNameOf,
  machineChangeSchema,
  machineNameSchema,
  machineSchema,
  newMachineSchema,
  targetNameOf,
  type Machine,
} from '#machines/mod.ts';

/** CHAP as it is shown: names, never secrets. */
const chapViewSchema = z.strictObject({ user: z.string(), mutualUser: z.string().exactOptional() });

/** A machine as the API shows it, with the iSCSI names that its boots use. */
export const machineViewSchema = machineSchema.omit({ chap: true }).extend({
  chap: chapViewSchema.exactOptional(),
  initiator: z.string(),
  targets: z.array(z.string()),
});

export type MachineView = z.output<typeof machineViewSchema>;

/** Null: the pending one-time boot is taken back. */
export const bootRequestSchema = z.strictObject({ once: bootOnceSchema.nullable() });

export type { BootOnce, BootPlan, Drive, MachineChange, NewMachine } from '#machines/mod.ts';
export {
  bootOnceSchema,
  bootPlanSchema,
  chapSchema,
  DRIVE_MODES,
  driveSchema,
  drivesSchema,
  machineChangeSchema,
  machineNameSchema,
  newMachineSchema,
};

/** The machine without its secrets. */
export function machineView(machine: Machine): MachineView {
  const { chap, ...rest } = machine;
  return {
    ...rest,
    ...(chap === undefined ? {} : { chap: chapView(chap) }),
    initiator: initiatorNameOf(machine),
    targets: machine.drives.map((_, index) => targetNameOf(machine, index)),
  };
}

function chapView(chap: NonNullable<Machine['chap']>): z.output<typeof chapViewSchema> {
  const { user, mutualUser } = chap;
  return { user, ...(mutualUser === undefined ? {} : { mutualUser }) };
}
