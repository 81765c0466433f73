// The picture of a person: chosen, cropped and made anew, so that nothing of the file but what is seen leaves the device.

/** Pixels of a picture's side. */
export const PICTURE_SIDE = 256;
/** Bytes that the server takes. */
const MOST_BYTES = 64 << 10;
/** Megapixels that a phone can hold while it crops. */
export const MOST_MEGAPIXELS = 50;
/** Longest side of what is cropped, in pixels: what is larger is made smaller first. */
const WORKING_SIDE = 2048;
/** How far one can go into a picture. */
export const MOST_ZOOM = 6;

/** Why a file does not become a picture; megapixels when it has too many. */
export class PictureError extends Error {
  readonly why: "no-picture" | "too-large" | "too-heavy";
  readonly megapixels: number;
  constructor(why: PictureError["why"], megapixels = 0) {
    super(why);
    this.why = why;
    this.megapixels = megapixels;
  }
}

/** The part of a picture that is shown: its middle as parts of width and height (0 to 1), and how far one is in (from 1). */
export interface View {
  readonly x: number;
  readonly y: number;
  readonly zoom: number;
}

/** The square that a view shows, in pixels of the picture, never beyond its edge. */
export function cropOf(
  width: number,
  height: number,
  { x, y, zoom }: View,
): { left: number; top: number; side: number } {
  const side = Math.min(width, height) / clamp(zoom, 1, MOST_ZOOM);
  return {
    left: clamp(x * width - side / 2, 0, width - side),
    top: clamp(y * height - side / 2, 0, height - side),
    side,
  };
}

/** A view moved by parts of the square that is shown and changed in size, kept inside the picture. */
export function moved(width: number, height: number, view: View, by: { x?: number; y?: number; zoom?: number }): View {
  const zoom = clamp(view.zoom * (by.zoom ?? 1), 1, MOST_ZOOM);
  const { side } = cropOf(width, height, { ...view, zoom });
  const [halfX, halfY] = [side / 2 / width, side / 2 / height];
  return {
    x: clamp(view.x + ((by.x ?? 0) * side) / width, halfX, 1 - halfX),
    y: clamp(view.y + ((by.y ?? 0) * side) / height, halfY, 1 - halfY),
    zoom,
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

/** Reads a file into pixels, upright. Throws PictureError. */
export async function readPicture(file: Blob): Promise<ImageBitmap> {
  const whole = await createImageBitmap(file).catch(() => {
    throw new PictureError("no-picture");
  });
  const megapixels = (whole.width * whole.height) / 1e6;
  if (megapixels > MOST_MEGAPIXELS) {
    whole.close();
    throw new PictureError("too-large", Math.ceil(megapixels));
  }
  const scale = WORKING_SIDE / Math.max(whole.width, whole.height);
  if (scale >= 1) return whole;
  const size = { resizeWidth: Math.ceil(whole.width * scale), resizeHeight: Math.ceil(whole.height * scale) };
  const small = await createImageBitmap(whole, { ...size, resizeQuality: "high" });
  whole.close();
  return small;
}

/** Draws what a view shows of a picture over a whole canvas. */
export function draw(canvas: HTMLCanvasElement, picture: ImageBitmap, view: View): void {
  const context = canvas.getContext("2d");
  if (context === null) return;
  const { left, top, side } = cropOf(picture.width, picture.height, view);
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // under what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, left, top, side, side, 0, 0, canvas.width, canvas.height);
}

/** Encodes a canvas small enough for the server: as WebP, or as JPEG where the browser cannot. Throws PictureError. */
export async function encodePicture(canvas: HTMLCanvasElement): Promise<Uint8Array<ArrayBuffer>> {
  for (const quality of [0.9, 0.75, 0.5]) {
    let made = await toBlob(canvas, "image/webp", quality);
    if (made?.type !== "image/webp") made = await toBlob(canvas, "image/jpeg", quality);
    if (made !== null && made.size <= MOST_BYTES) return new Uint8Array(await made.arrayBuffer());
  }
  throw new PictureError("too-heavy");
}

function toBlob(canvas: HTMLCanvasElement, type: string, quality: number): Promise<Blob | null> {
  return new Promise((done) => canvas.toBlob(done, type, quality));
}
