// Label a recording with one ONNX file: dotnet run MODEL.onnx RECORDING.wav
//
// The recording is 16 kHz mono with 16 bits and the usual header of 44 bytes.

using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

internal static class Program
{
    private static void Main(string[] args)
    {
        byte[] bytes = File.ReadAllBytes(args[1]);
        short[] pcm = MemoryMarshal.Cast<byte, short>(bytes.AsSpan(44)).ToArray();
        float[] samples = pcm.Select(sample => sample / 32768f).ToArray();

        using var session = new InferenceSession(args[0]);
        string named = session.ModelMetadata.CustomMetadataMap["voxmood.labels"];
        string[] labels = JsonSerializer.Deserialize<string[]>(named);

        var waveform = new DenseTensor<float>(samples, new[] { 1, samples.Length });
        var lengths = new DenseTensor<long>(new long[] { samples.Length }, new[] { 1 });
        var inputs = new[]
        {
            NamedOnnxValue.CreateFromTensor("waveform", waveform),
            NamedOnnxValue.CreateFromTensor("lengths", lengths),
        };
        using var outputs = session.Run(inputs, new[] { "probabilities" });
        float[] probabilities = outputs.First().AsEnumerable<float>().ToArray();
        foreach (var (label, probability) in labels.Zip(probabilities))
        {
            Console.WriteLine($"{label} {probability.ToString("F4", CultureInfo.InvariantCulture)}");
        }
    }
}
