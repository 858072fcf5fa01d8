import { UserError } from '#base/mod.ts';

/** The name is taken. */
export function imageExists(name: string): UserError {
  return new UserError('conflict', 'image-exists', {
    what: `there is an image named "${name}" already`,
    todo: 'choose another name, or remove that one first (polyboot image rm)',
  });
}

/** No image has the name. */
export function imageUnknown(name: string): UserError {
  return new UserError('not-found', 'image-unknown', {
    what: `there is no image named "${name}"`,
    todo: '`polyboot image list` shows the names',
  });
}

/** The image has no such point. */
export function pointUnknown(image: string, number: number | string): UserError {
  return new UserError('not-found', 'point-unknown', {
    what: `image "${image}" has no point ${number}`,
    todo: `\`polyboot image history ${image}\` lists its points`,
  });
}

/** Machines are logged in to the disk that is to be changed. */
export function inUseNow(image: string, machines: readonly string[], verb: string): UserError {
  const names = machines.map((name) => `machine "${name}"`).join(', ');
  return new UserError('conflict', 'image-in-use', {
    what: `${verb} of image "${image}" is not possible now`,
    why: `${names} ${machines.length === 1 ? 'is' : 'are'} running from it`,
    todo: 'shut the system there down, and try again',
  });
}

/** The image is golden, and the verb would write to it. */
export function imageFrozen(image: string, verb: string): UserError {
  return new UserError('conflict', 'image-frozen', {
    what: `image "${image}" cannot be ${verb}`,
    why: 'it is frozen: overlays stand on it, or may',
    todo: `change an overlay of it and promote that: polyboot image overlay ${image} NEW`,
  });
}

/** The image can still be written, and the verb needs one that cannot. */
export function imageNotFrozen(image: string, verb: string): UserError {
  return new UserError('conflict', 'image-not-frozen', {
    what: `image "${image}" cannot ${verb}`,
    why: 'it can still be written, and whatever stands on it would be destroyed by that',
    todo: [
      `make it a golden image (polyboot image freeze ${image}),`,
      `or take a snapshot and name that: polyboot image snapshot ${image}, then ${image}@NUMBER`,
    ].join(' '),
  });
}

/** The kind of disk does not admit the verb. */
export function kindUnsupported(image: string, kind: string, verb: string): UserError {
  return new UserError('unsupported', 'image-kind', {
    what: `image "${image}" cannot be ${verb}`,
    why: KIND_REASONS[kind] ?? `it is kept as ${kind}`,
    todo: `copy it into the library first: polyboot image clone ${image} COPY`,
  });
}

const KIND_REASONS: Readonly<Record<string, string>> = {
  iso: 'it is a CD image, which nobody writes anyway',
  block: 'it is a device, whose size and changes are the volume manager’s business',
  nbd: 'it is kept by another server, which alone can say what it is',
};
