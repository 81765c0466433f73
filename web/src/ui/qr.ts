// QR codes: made on the screen, and read from a picture.
import { encodeQR } from "qr";

/** Longest side of a picture that is searched for a code, in pixels: more only costs time. */
const MOST_SIDE = 1024;
/** Milliseconds that one picture may be searched for beyond the first look. */
const PATIENCE = 60;

/** The modules of a code, true where it is dark, with the quiet border around it. */
export function qrModules(text: string): boolean[][] {
  return encodeQR(text, "raw", { ecc: "medium", border: 3 });
}

/** What the code in a picture says, null when none is found in it. */
export type ReadQr = (image: CanvasImageSource, width: number, height: number) => string | null;

/** Loads the reader, which few people need. */
export async function qrReader(): Promise<ReadQr> {
  const { decodeQR } = await import("qr/decode.js");
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return (image, width, height) => {
    const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
    const [w, h] = [Math.floor(width * scale), Math.floor(height * scale)];
    if (context === null || w === 0 || h === 0) return null;
    canvas.width = w;
    canvas.height = h;
    context.fillStyle = "white"; // under what a file leaves transparent
    context.fillRect(0, 0, w, h);
    context.drawImage(image, 0, 0, w, h);
    try {
      return decodeQR(context.getImageData(0, 0, w, h), { timeLimit: PATIENCE });
    } catch {
      return null; // it throws for a picture without a code
    }
  };
}

/** What the code in a picture file says, null when there is none. Rejects for a file that is no picture. */
export async function readQrFile(file: Blob): Promise<string | null> {
  const [read, picture] = await Promise.all([qrReader(), createImageBitmap(file)]);
  try {
    return read(picture, picture.width, picture.height);
  } finally {
    picture.close();
  }
}
