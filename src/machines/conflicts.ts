import { UserError } from '#base/mod.ts';
import { describeHold, type Holder, type HoldMode } from './holds.ts';

/** Another machine has the name. */
export function nameTaken(name: string): UserError {
  return new UserError('conflict', 'machine-name-taken', {
    what: `there is a machine named "${name}" already`,
    todo: `choose another name, or rename that one (polyboot machine set ${name} --name OTHER)`,
  });
}

/** Another machine has the MAC address. */
export function macTaken(mac: string, holder: string): UserError {
  return new UserError('conflict', 'machine-mac-taken', {
    what: `the MAC address ${mac} belongs to machine "${holder}"`,
    why: 'a machine is known by its MAC addresses, so no two can share one',
    todo: `polyboot machine show ${holder}`,
  });
}

/** Another machine has the fixed address. */
export function addressTaken(address: string, holder: string): UserError {
  return new UserError('conflict', 'machine-address-taken', {
    what: `the address ${address} is reserved for machine "${holder}"`,
    todo: `choose another, or free that one: polyboot machine set ${holder} --address none`,
  });
}

/** Another machine holds the image in a way that admits no second holder. */
export function imageHeld(image: string, holder: Holder, wanted: HoldMode): UserError {
  const sharedBoth = holder.mode !== 'exclusive' && wanted === 'exclusive';
  return new UserError('conflict', 'image-held', {
    what: `the image "${image}" is held by ${describeHold(holder)}`,
    why: sharedBoth
      ? 'an image that machines share is read-only, so none can have it to itself'
      : 'an image used exclusively belongs to one machine: two writers would destroy it',
    todo: [
      `detach it there first (polyboot machine set ${holder.machine} --drive none),`,
      `attach it as "${image}:shared" on every machine,`,
      `give each an overlay (polyboot image freeze ${image}, then "${image}:overlay-kept"),`,
      `or make a copy (polyboot image clone ${image} COPY)`,
    ].join(' '),
  });
}

/** No machine has the name, MAC, UUID or id. */
export function machineUnknown(name: string): UserError {
  return new UserError('not-found', 'machine-unknown', {
    what: `there is no machine "${name}"`,
    todo: '`polyboot machine list` shows all machines',
  });
}

/** The library has no image of that name. */
export function driveImageUnknown(image: string): UserError {
  return new UserError('not-found', 'image-unknown', {
    what: `there is no image named "${image}"`,
    todo: '`polyboot image list` shows the names; `polyboot image add` and `create` make one',
  });
}

/** The machine has no drive of that image. */
export function driveUnknown(machine: string, image: string): UserError {
  return new UserError('not-found', 'drive-unknown', {
    what: `machine "${machine}" has no drive with the image "${image}"`,
    todo: `polyboot machine show ${machine}`,
  });
}
