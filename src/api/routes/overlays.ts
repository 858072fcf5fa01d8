import { UserError } from '#base/mod.ts';
import type { OverlayState } from '#images/mod.ts';
import type { Machine } from '#machines/mod.ts';
import type { OverlayRequest, OverlayResult } from '../schema/image.ts';
import type { AdminServices } from '../services.ts';

/**
 * Does what is asked for with the overlays of a machine: all of them, or of one drive. Where there
 * are none, with those of a machine that is gone, under the name that it had. Rejects with
 * UserError.
 */
export async function overlayAction(
  request: OverlayRequest,
  { images, machines }: AdminServices,
): Promise<OverlayResult> {
  const machine = machines.byName(request.machine);
  const chosen = chosenOverlays(request, machine, images.overlays());
  const gone = chosen.some((overlay) => overlay.gone);
  const owner = gone || machine === undefined ? request.machine : machine.id;
  if (request.action === 'promote') {
    const [overlay, another] = chosen;
    if (overlay === undefined || another !== undefined) throw oneOnly(request.machine);
    const { notes } = await images.promoteOverlay(owner, overlay.image, request.comment);
    return { overlays: [], notes: [...notes] };
  }
  for (const { image } of chosen)
    images.wish(owner, image, request.action, !gone && attached(machine, image));
  const names = new Set(chosen.map(({ image }) => image));
  const now = images
    .overlays()
    .filter((o) => o.machine === request.machine && o.gone === gone && names.has(o.image));
  return { overlays: now.map((o) => ({ ...o })), notes: [] };
}

function chosenOverlays(
  { machine: name, index }: OverlayRequest,
  machine: Machine | undefined,
  all: readonly OverlayState[],
): OverlayState[] {
  const named = all.filter((overlay) => overlay.machine === name);
  const own = named.filter((overlay) => !overlay.gone);
  if (index === undefined) {
    // A machine of that name may be there again, without an overlay yet.
    const meant = own.length > 0 ? own : named;
    if (meant.length > 0) return meant;
    throw none(name, 'it has not booted with an overlay yet, or there is no such machine');
  }
  const image = machine?.drives[index]?.image;
  const found = own.filter((overlay) => overlay.image === image);
  if (found.length > 0) return found;
  throw none(`${name}.${index}`, 'that drive has no overlay, or has not booted with it yet');
}

/** Whether a later boot of the machine will look at its overlay of the image. */
function attached(machine: Machine | undefined, image: string): boolean {
  const drives = machine?.drives ?? [];
  return drives.some((drive) => drive.image === image && drive.mode.startsWith('overlay-'));
}

function none(what: string, why: string): UserError {
  return new UserError('not-found', 'overlay-unknown', {
    what: `there is no overlay of ${what}`,
    why,
    todo: '`polyboot image history IMAGE` lists the overlays of an image',
  });
}

function oneOnly(machine: string): UserError {
  return new UserError('invalid', 'overlay-ambiguous', {
    what: `machine "${machine}" has several overlays`,
    todo: `name the drive: ${machine}.0, ${machine}.1 …`,
  });
}
