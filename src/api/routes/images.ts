import { z } from 'zod';
import type { Image, ImageWork } from '#images/mod.ts';
import { imageNameSchema } from '#machines/mod.ts';
import {
  imageRequestSchema,
  imageViewSchema,
  inspectionSchema,
  type ImageRequest,
  type ImageView,
} from '../schema/image.ts';
import { imageView } from './image-view.ts';
import type { AdminServices } from '../services.ts';
import { answerWork } from '../work-stream.ts';
import { ERRORS, type ApiApp, type RouteContext } from './context.ts';

const params = z.strictObject({ name: imageNameSchema });
const tags = ['images'];

/** Images: list, show, inspect, remove, and the long work that makes them. */
export function imageRoutes(app: ApiApp, context: RouteContext): void {
  const { services } = context;
  const view = (image: Image): ImageView => imageView(image, services);
  app.get(
    '/v1/images',
    {
      schema: {
        tags,
        summary: 'All images, ordered by name',
        response: { 200: z.array(imageViewSchema), ...ERRORS },
      },
    },
    () => services.images.list().map(view),
  );
  app.get(
    '/v1/images/:name',
    {
      schema: { tags, summary: 'One image', params, response: { 200: imageViewSchema, ...ERRORS } },
    },
    (request) => view(services.images.get(request.params.name)),
  );
  app.get(
    '/v1/images/:name/inspection',
    {
      schema: {
        tags,
        summary: 'Partitions, geometry as iPXE will guess it, and warnings',
        params,
        response: { 200: inspectionSchema, ...ERRORS },
      },
    },
    (request) =>
      services.images.inspect(request.params.name).then((report) => inspectionSchema.parse(report)),
  );
  app.delete(
    '/v1/images/:name',
    {
      schema: {
        tags,
        summary: 'Removes an image; its file too when the server made it',
        params,
        response: { 204: z.null(), ...ERRORS },
      },
    },
    async (request, reply) => {
      await services.images.remove(request.params.name);
      void reply.code(204);
      return null;
    },
  );
  makingRoute(app, context);
}

function makingRoute(app: ApiApp, context: RouteContext): void {
  const { services } = context;
  app.post(
    '/v1/images',
    {
      schema: {
        tags,
        summary: 'Makes an image; closing the connection cancels',
        description:
          'Answers lines of JSON: {"progress":…} while it works, then {"result":…} or {"error":…}.',
        body: imageRequestSchema,
        response: ERRORS,
      },
    },
    (request, reply) =>
      answerWork(reply, context, async (work) =>
        imageView(await make(request.body, services, work), services),
      ),
  );
}

async function make(
  request: ImageRequest,
  { images }: AdminServices,
  work: ImageWork,
): Promise<Image> {
  switch (request.action) {
    case 'add': {
      const { action: _, path, ...options } = request;
      return images.add(path, options);
    }
    case 'create': {
      const { action: _, name, ...options } = request;
      return images.create(name, options);
    }
    case 'build': {
      const { action: _, name, ...build } = request;
      return images.build(name, build, work);
    }
    case 'clone':
      return images.clone(request.from, request.name, work);
    case 'import': {
      const { action: _, path, ...options } = request;
      return images.import(path, options, work);
    }
    case 'overlay':
      return (await images.overlay(request.base, request.name, request.note)).image;
  }
}
