-- Example: have Orthanc forward every 3D T1 series to csf24.
--
-- In Orthanc's configuration:
--   "LuaScripts": ["/etc/orthanc/orthanc-routing.lua"],
--   "StableAge": 10,
--   "DicomModalities": {"csf24": ["CSF24", "csf24.hospital.example", 11112]}
--
-- A series that becomes stable twice is sent twice; csf24 knows instances it has and does nothing.
-- Orthanc does not try a failed job again by itself: see its Jobs page, or POST /jobs/<id>/resubmit.

local MODALITY = 'csf24' -- symbolic name in DicomModalities
local AE_TITLE = 'CSF24' -- what comes from there does not go back

-- Coarse on purpose: csf24 looks at the header itself and leaves alone what is no 3D T1 head. A value that
-- is not there excludes nothing, since multi-frame objects have theirs in sequences.
local function isThreeDimensionalT1(header)
  local kind = header['ImageType'] or ''
  if string.find(kind, 'DERIVED', 1, true) or string.find(kind, 'SECONDARY', 1, true) then
    return false
  end
  if (header['MRAcquisitionType'] or '3D') ~= '3D' then
    return false
  end
  if not string.find(header['ScanningSequence'] or 'GR', 'GR', 1, true) then
    return false
  end
  return (tonumber(header['EchoTime']) or 0) <= 6.5 -- ms
end

function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] ~= 'MR' or metadata['RemoteAET'] == AE_TITLE then
    return
  end
  local instances = ParseJson(RestApiGet('/series/' .. seriesId))['Instances']
  local header = ParseJson(RestApiGet('/instances/' .. instances[1] .. '/simplified-tags'))
  if isThreeDimensionalT1(header) then
    -- One job and one association for the whole series; SendToModality() takes single instances only.
    RestApiPost('/modalities/' .. MODALITY .. '/store', DumpJson({Resources = {seriesId}, Synchronous = false}, true))
  end
end
